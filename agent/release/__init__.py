"""The workstation's side: golden set, sealing, signing and publishing; never loaded by the running agent."""
