"""How ``LowerQdq`` works: reading QDQ graphs (``reader``), lowering on demand, one rule per operator."""
