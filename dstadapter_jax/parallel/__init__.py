"""Devices and processes: the mesh, many hosts, signals."""
