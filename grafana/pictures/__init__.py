"""Pictures of the dashboards, drawn from a recorded run."""
