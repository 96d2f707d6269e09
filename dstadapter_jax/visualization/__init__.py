"""Pictures of clips: contact sheets, film strips, explanations."""
