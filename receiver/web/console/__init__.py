"""The console at /ops: what the service knows, for people, and what they may do about it.

Every page is made here, from the functions that the API is made of, and needs nothing but this
service: no build, no network, no JavaScript. A noun a file.
"""
