"""The adapter file: trained weights and metadata in one safetensors file."""
