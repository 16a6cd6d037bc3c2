"""Generators: how a latent becomes an image. One module a family."""
