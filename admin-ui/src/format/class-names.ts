/// Tailwind classes joined, the later winning.
import { clsx, type ClassValue } from "clsx"
import { twMerge } from "tailwind-merge"

export function cn(...names: ClassValue[]): string {
  return twMerge(clsx(names))
}
