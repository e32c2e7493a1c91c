# What the compiled way of a request uses of the small things.


cpdef str fresh_id(str prefix)
