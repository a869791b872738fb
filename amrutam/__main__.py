"""`python -m amrutam`."""

import sys

from amrutam.cli import main

sys.exit(main())
