// System call filters, as sandboxes set them.
#pragma once

#include <stddef.h>

struct filtered {
    unsigned call;
    // What the call fails with; 0 kills the process.
    int error;
};

// Filters system calls of this process for good.
void filter_calls(const struct filtered *filtered, size_t count);
