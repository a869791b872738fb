"""`python -m amrutam`."""

from amrutam.cli import main
from amrutam.leaving import leave

leave(main())
