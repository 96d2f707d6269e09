"""INCLUDE: 263 signs of Indian Sign Language."""
