"""Events on the device: which are open, what is kept of them on disk, within bounds.

`EventKeeper` takes what the worker says and sees to it that every `new` has its `end`; `EventStore` keeps
events with their pictures and answers from them:

    store.recent(20, camera="door")
    store.snapshot(event_id)
"""
