"""Rules alone: no server runs here."""
