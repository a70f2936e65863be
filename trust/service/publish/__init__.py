"""From committed entries to a published, cosigned checkpoint."""
