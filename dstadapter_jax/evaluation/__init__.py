"""What an evaluation tells: scores, accuracies with their intervals, signs, signers, two runs."""
