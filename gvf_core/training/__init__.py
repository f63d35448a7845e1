"""Losses and targets for training the networks."""
