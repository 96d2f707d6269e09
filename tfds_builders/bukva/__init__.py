"""Bukva: the 33 letters of the Russian fingerspelling alphabet."""
