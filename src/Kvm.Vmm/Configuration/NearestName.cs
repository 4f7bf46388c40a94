namespace Kvm.Vmm.Configuration;

/// <summary>Finds what somebody meant who misspelt a name. Thread-safe: pure functions.</summary>
public static class NearestName
{
    private const int LongestWord = 64;

    /// <summary>
    /// The candidate nearest to <paramref name="word"/>, or null when none is near: at most a third of the longer
    /// of the two may differ, counted as insertions, deletions, replacements and swaps of neighbours.
    /// </summary>
    /// <param name="word">What was typed; of more than 64 characters nothing is near.</param>
    /// <param name="candidates">The names there are; on a tie the first wins.</param>
    public static string? Find(string word, IEnumerable<string> candidates)
    {
        ArgumentNullException.ThrowIfNull(word);
        ArgumentNullException.ThrowIfNull(candidates);
        if (word.Length is 0 or > LongestWord)
            return null;
        string? best = null;
        var bestDistance = int.MaxValue;
        foreach (var candidate in candidates)
        {
            if (candidate.Length > LongestWord)
                continue;
            var distance = Distance(word, candidate);
            if (distance < bestDistance && distance * 3 <= Math.Max(word.Length, candidate.Length))
                (best, bestDistance) = (candidate, distance);
        }

        return best;
    }

    /// <summary>The optimal string alignment distance of two words of at most 64 characters, without regard to case.</summary>
    internal static int Distance(string a, string b)
    {
        Span<int> beforeLast = stackalloc int[LongestWord + 1];
        Span<int> last = stackalloc int[LongestWord + 1];
        Span<int> current = stackalloc int[LongestWord + 1];
        for (var j = 0; j <= b.Length; j++)
            last[j] = j;
        for (var i = 1; i <= a.Length; i++)
        {
            current[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var same = Same(a[i - 1], b[j - 1]);
                current[j] = Math.Min(Math.Min(last[j], current[j - 1]) + 1, last[j - 1] + (same ? 0 : 1));
                if (i > 1 && j > 1 && Same(a[i - 1], b[j - 2]) && Same(a[i - 2], b[j - 1]))
                    current[j] = Math.Min(current[j], beforeLast[j - 2] + 1);
            }

            var free = beforeLast;
            beforeLast = last;
            last = current;
            current = free;
        }

        return last[b.Length];
    }

    private static bool Same(char a, char b) => char.ToLowerInvariant(a) == char.ToLowerInvariant(b);
}
