"""Many trainings, in processes of this machine or on a cluster."""
