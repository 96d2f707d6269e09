"""The network: sizes, layers, DSTAdapter, and which of its parameters are trained."""
