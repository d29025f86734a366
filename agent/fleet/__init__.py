"""The reference controller: enrolment, key service, block server, rollouts.

Never imported by the running agent.
"""
