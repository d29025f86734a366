"""Real parts the tests are built with: a broker, certificates, models and pictures."""
