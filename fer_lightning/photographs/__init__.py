"""Faces in a person's own pictures: found, brought to 48×48 as FER2013's are, and read."""

LIMITS = """\
It guesses the label that FER2013's taggers would have given to a picture of a face, one of seven. That is
not what a person feels. It must not be used to judge anyone: not in hiring, teaching, policing or medicine.
No identity, no tracking; nothing is kept."""
