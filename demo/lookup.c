/* Prints what getaddrinfo(3) says of a name: what every program of this host is told. */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: lookup NAME\n");
        return 2;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int error = getaddrinfo(argv[1], NULL, &hints, &found);
    if (error) {
        printf("%s: %s\n", argv[1], gai_strerror(error));
        return 1;
    }
    for (struct addrinfo *one = found; one; one = one->ai_next) {
        char text[NI_MAXHOST];
        if (!getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST))
            printf("%s is at %s\n", argv[1], text);
    }
    freeaddrinfo(found);
    return 0;
}
