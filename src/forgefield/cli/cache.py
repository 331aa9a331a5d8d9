"""``forgefield info --cache``: the compiled kernels kept on disk."""

from __future__ import annotations

from forgefield.cli.guard import print_json, stdout

__all__ = ["show_cache"]


def show_cache(*, clear: bool, json: bool) -> None:
    """Print where the kernels are kept, how many, how large; remove them first if asked to."""
    from forgefield import kernel_cache

    removed = kernel_cache.clear_cache() if clear else None
    folder, files = kernel_cache.cache_folder(), kernel_cache.cached_files()
    about = {
        "folder": None if folder is None else str(folder),
        "kernels": len(files),
        "bytes": sum(size for _, size, _ in files),
        "limit": kernel_cache.LARGEST_CACHE,
    }
    if removed is not None:
        about["removed"] = removed
    if json:
        print_json(about)
        return
    from forgefield.cli.show import facts_table

    facts = {
        "folder": "none: no place for it, every process builds its kernels" if folder is None else folder,
        "kernels": len(files),
        "size": f"{about['bytes'] / 1e6:.1f} MB of at most {about['limit'] / 1e6:.0f} MB",  # type: ignore[operator]
    }
    if removed is not None:
        facts["removed"] = f"{removed} kernels"
    stdout().print(facts_table("Compiled kernels", facts))
