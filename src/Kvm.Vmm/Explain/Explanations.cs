using System.Globalization;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Explain;

/// <summary>What was found for a word: entries of all tables, or what was probably meant.</summary>
/// <param name="Topics">Entries with the name or the number.</param>
/// <param name="Number">The number the word was read as; null where it is a name.</param>
/// <param name="Nearest">Where nothing was found, the name that is nearest; null where none is near.</param>
public sealed record Explanation(IReadOnlyList<Topic> Topics, ulong? Number, string? Nearest);

/// <summary>All tables of <c>kvmsharp explain</c>, and the search in them. Thread-safe.</summary>
public static class Explanations
{
    private static readonly string[] Prefixes = ["EXIT_REASON_", "SVM_EXIT_", "VMEXIT_", "KVM_EXIT_", "MSR_", "IA32_", "CPUID_", "VIRTIO_"];

    /// <summary>The entries of one table in its order.</summary>
    /// <param name="table">A defined table.</param>
    public static IReadOnlyList<Topic> Of(TopicTable table) => table switch
    {
        TopicTable.VmxExit => ExitTables.Vmx,
        TopicTable.SvmExit => ExitTables.Svm,
        TopicTable.KvmExit => ExitTables.Kvm,
        TopicTable.Msr => MsrTable.All,
        TopicTable.CpuidLeaf => CpuidTopics.All,
        TopicTable.Port => PortTable.All,
        TopicTable.VirtioRegister => VirtioTable.All,
        _ => [.. ErrorTable.All.Select(Error)],
    };

    /// <summary>The word by which a whole table is asked for.</summary>
    /// <param name="table">A defined table.</param>
    public static string WordOf(TopicTable table) => table switch
    {
        TopicTable.VmxExit => "vmx",
        TopicTable.SvmExit => "svm",
        TopicTable.KvmExit => "kvm",
        TopicTable.Msr => "msrs",
        TopicTable.CpuidLeaf => "leaves",
        TopicTable.Port => "ports",
        TopicTable.VirtioRegister => "virtio",
        _ => "errors",
    };

    /// <summary>What the table is, for people.</summary>
    /// <param name="table">A defined table.</param>
    public static string TitleOf(TopicTable table) => table switch
    {
        TopicTable.VmxExit => "VT-x exit reason",
        TopicTable.SvmExit => "AMD-V exit code",
        TopicTable.KvmExit => "KVM exit reason",
        TopicTable.Msr => "MSR",
        TopicTable.CpuidLeaf => "CPUID leaf",
        TopicTable.Port => "port",
        TopicTable.VirtioRegister => "virtio register",
        _ => "error",
    };

    /// <summary>The number as its table's manual writes it, with the last one of a range.</summary>
    /// <param name="topic">The entry.</param>
    public static string NumberOf(Topic topic)
    {
        ArgumentNullException.ThrowIfNull(topic);
        string first = One(topic.Table, topic.Number);
        return topic.Count == 1 ? first : $"{first}–{One(topic.Table, topic.Number + (topic.Count - 1))}";
    }

    private static string One(TopicTable table, ulong number) => table switch
    {
        TopicTable.VmxExit or TopicTable.KvmExit or TopicTable.Error => number.ToString(CultureInfo.InvariantCulture),
        _ when number > long.MaxValue => unchecked((long)number).ToString(CultureInfo.InvariantCulture),
        _ => $"0x{number:x}",
    };

    /// <summary>Searches all tables for a name, with or without its usual prefix, or a number, decimal or with 0x.</summary>
    /// <param name="word">What was typed.</param>
    public static Explanation Find(string word)
    {
        ArgumentNullException.ThrowIfNull(word);
        foreach (var table in Enum.GetValues<TopicTable>())
        {
            if (word.Equals(WordOf(table), StringComparison.OrdinalIgnoreCase))
                return new Explanation(Of(table), null, null);
        }

        if (TryNumber(word, out ulong number))
            return new Explanation([.. All().Where(topic => topic.Table != TopicTable.Error && topic.Has(number))], number, null);
        string name = Bare(word);
        var found = All().Where(topic => Names(topic).Any(n => Bare(n) == name)).ToList();
        return found.Count > 0
            ? new Explanation(found, null, null)
            : new Explanation([], null, NearestName.Find(name, All().SelectMany(Names).Select(Bare)));
    }

    private static IEnumerable<Topic> All() => Enum.GetValues<TopicTable>().SelectMany(Of);

    private static IEnumerable<string> Names(Topic topic) => topic.Name.Contains('#', StringComparison.Ordinal)
        ? Enumerable.Range(0, (int)topic.Count).Select(i => topic.NameOf(topic.Number + (ulong)i)).Prepend(topic.Name.Split(' ')[0].Replace("#", "", StringComparison.Ordinal))
        : [topic.Name];

    /// <summary>A name as it is compared: upper case, underscores, without prefixes.</summary>
    private static string Bare(string name)
    {
        string bare = name.ToUpperInvariant().Replace('-', '_').Replace(' ', '_');
        foreach (string prefix in Prefixes)
        {
            if (bare.Length > prefix.Length && bare.StartsWith(prefix, StringComparison.Ordinal))
                bare = bare[prefix.Length..];
        }

        return bare;
    }

    private static bool TryNumber(string word, out ulong number) =>
        word.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
            ? ulong.TryParse(word.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number)
            : ulong.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out number);

    private static Topic Error(ErrorInfo error) =>
        new(TopicTable.Error, ulong.Parse(error.Id.AsSpan(3), NumberStyles.None, CultureInfo.InvariantCulture), error.Id, $"{error.Summary}. {error.Cause}") { Vmm = error.Fix, Clause = "docs/errors.md" };
}
