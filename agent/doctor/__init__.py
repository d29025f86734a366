"""`vigil doctor`: looks at everything a device needs, and says what is wrong, why it matters and what to type.

Probes touch the world and are bounded in time; rules are pure. Nothing is changed on the device, and no
connection of the running agent is disturbed.
"""
