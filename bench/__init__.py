"""`make bench`: how fast Amrutam is on this machine, each figure beside its limit from the same run."""
