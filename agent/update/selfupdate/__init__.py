"""The agent's own update: two environments side by side, a small launcher that picks one, and a way back."""
