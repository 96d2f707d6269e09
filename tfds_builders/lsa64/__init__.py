"""LSA64: 64 signs of Argentine Sign Language."""
