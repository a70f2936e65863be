"""Signed notes (C2SP): checkpoints, cosignatures, receipts, keys and witnesses."""
