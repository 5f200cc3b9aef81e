"""Labels that come back: tokens that carry what a label will need, and how labels are taken."""
