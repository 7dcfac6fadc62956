"""Secrets at rest: AES-256-GCM, bound to the place where they are stored.

envelope      what is stored, byte by byte
gate          what looks for secrets in everything that is about to be stored, and how it does that: guard
keys          the keys: from the environment, the keyring of the operating system, or a file
desk          ``ctx.vault``: encrypts, decrypts, replaces keys
"""
