"""AUTSL: 226 signs of Turkish Sign Language."""
