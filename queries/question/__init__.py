"""The question language: SQL and tree, checked against a policy, made a plan with its sensitivity."""
