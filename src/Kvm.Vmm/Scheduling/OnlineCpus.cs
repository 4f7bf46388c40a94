using System.Globalization;
using System.Text;
using Kvm.Interop;

namespace Kvm.Vmm.Scheduling;

/// <summary>
/// Which CPUs of the host can be used: online by the kernel's list, and in the cpuset that the looking thread is in. Looked at again and
/// again: the list each time, without allocating while it stays the same, the cpuset now and then.
/// </summary>
internal sealed class OnlineCpus : IDisposable
{
    private const int MostBytes = 4096;
    private const int LooksPerCpusetLook = 5;

    private readonly FdHandle? _file;
    private readonly byte[] _seen = new byte[MostBytes];
    private readonly byte[] _now = new byte[MostBytes];
    private readonly HashSet<int> _online = [];
    private readonly Func<int[]> _cpuset;
    private int[] _allowed = [];
    private int _looks;
    private int _length = -1;

    /// <summary>Opens the list.</summary>
    /// <param name="path">The kernel's file of online CPUs, or one like it.</param>
    /// <param name="cpuset">Tells the looking thread's cpuset; null for the kernel's own answer.</param>
    public OnlineCpus(string path = "/sys/devices/system/cpu/online", Func<int[]>? cpuset = null)
    {
        _cpuset = cpuset ?? (static () => HostThread.GetAffinity(0));
        int fd = Descriptor.OpenForReading(path);
        _file = fd < 0 ? null : new FdHandle(fd);
    }

    /// <summary>Looks; whether something differs from the last look. What cannot be read has not changed.</summary>
    public bool HasChanged() => ListHasChanged() | CpusetHasChanged();

    private bool CpusetHasChanged()
    {
        if (_looks++ % LooksPerCpusetLook != 0)
            return false;
        int[] now = _cpuset();
        bool changed = now.Length > 0 && !now.AsSpan().SequenceEqual(_allowed);
        _allowed = changed ? now : _allowed;
        return changed;
    }

    private bool ListHasChanged()
    {
        int length = _file is null ? -1 : Descriptor.ReadAt(_file.Fd, _now, 0);
        if (length <= 0 || (length == _length && _now.AsSpan(0, length).SequenceEqual(_seen.AsSpan(0, length))))
            return false;
        _now.AsSpan(0, length).CopyTo(_seen);
        _length = length;
        _online.Clear();
        foreach (int cpu in CpuList.Parse(Encoding.ASCII.GetString(_seen, 0, length)) ?? [])
            _online.Add(cpu);
        return true;
    }

    /// <summary>Whether a CPU was online at the last look.</summary>
    public bool IsOnline(int cpu) => _online.Contains(cpu);

    /// <summary>Whether a CPU could be used at the last look.</summary>
    public bool Contains(int cpu) => _online.Contains(cpu) && Array.BinarySearch(_allowed, cpu) >= 0;

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();
}

/// <summary>Lists of CPUs as people and the kernel write them: <c>0-3,8</c>.</summary>
public static class CpuList
{
    /// <summary>More than any host has.</summary>
    public const int MostCpus = 8192;

    /// <summary>The numbers in ascending order, each once; null where the text is no such list.</summary>
    public static IReadOnlyList<int>? Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var cpus = new SortedSet<int>();
        foreach (string part in text.Trim().Split(','))
        {
            string[] ends = part.Split('-');
            if (ends.Length > 2 || !TryNumber(ends[0], out int from) || !TryNumber(ends[^1], out int to) || from > to)
                return null;
            for (int cpu = from; cpu <= to; cpu++)
                cpus.Add(cpu);
        }

        return [.. cpus];
    }

    /// <summary>The list of these numbers, ascending.</summary>
    public static string Format(IEnumerable<int> cpus)
    {
        var text = new StringBuilder();
        int first = -2, last = -2;
        foreach (int cpu in cpus.Order().Append(int.MaxValue))
        {
            if (cpu == last + 1)
            {
                last = cpu;
                continue;
            }

            if (first >= 0)
                text.Append(text.Length > 0 ? "," : "").Append(CultureInfo.InvariantCulture, $"{first}").Append(last > first ? $"-{last}" : "");
            first = last = cpu;
        }

        return text.ToString();
    }

    private static bool TryNumber(string text, out int number) =>
        int.TryParse(text.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out number) && number < MostCpus;
}
