"""The demo's own material: a renderer of signed clips and a tiny backbone that has seen stills."""
