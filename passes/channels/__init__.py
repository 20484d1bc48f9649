"""What is known of single channels (the last axis of a tensor): their values, and who needs them."""
