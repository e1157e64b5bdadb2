"""What can be made of a trained model's latents, without training it further."""
