"""Stores of claims: what makes each label count once."""
