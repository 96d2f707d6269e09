"""Video decoding: containers, frames, pixels."""
