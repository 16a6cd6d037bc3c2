"""What a user does with a picture and a model."""
