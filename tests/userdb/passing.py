"""Descriptors that peers pass along to the provider, whose close lasts."""

import closing
import userdb
import world


class Passing(closing.Closing):
    program, path = userdb.PROGRAM, userdb.SOCKET


if __name__ == "__main__":
    world.main()
