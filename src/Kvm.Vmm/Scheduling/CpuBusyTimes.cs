using System.Buffers.Text;
using Kvm.Interop;

namespace Kvm.Vmm.Scheduling;

/// <summary>How long each of the host's CPUs was busy, whoever it was: /proc/stat (proc(5)), in ticks of 10 ms. A look allocates nothing unless the file grew.</summary>
internal sealed class CpuBusyTimes : IDisposable
{
    private const long NanosecondsPerTick = 10_000_000;
    private const int MostBytes = 4 << 20;
    private const int Idle = 3;
    private const int IoWait = 4;

    /// <summary>What follows <c>steal</c>: the time of guests, which <c>user</c> and <c>nice</c> have already.</summary>
    private const int FirstOfGuests = 8;

    private readonly FdHandle? _file;
    private byte[] _text = new byte[16 << 10];

    /// <param name="path">The kernel's file, or one like it.</param>
    public CpuBusyTimes(string path = "/proc/stat")
    {
        int fd = Descriptor.OpenForReading(path);
        _file = fd < 0 ? null : new FdHandle(fd);
    }

    /// <summary>Writes each CPU's busy time in ns, by the host's numbers; what is not told stays as it was.</summary>
    public void Look(Span<long> busy)
    {
        int length = Read();
        var text = _text.AsSpan(0, length);
        while (text.Length > 0)
        {
            int end = text.IndexOf((byte)'\n');
            var line = end < 0 ? text : text[..end];
            text = end < 0 ? [] : text[(end + 1)..];
            // The CPUs stand first, behind their sum.
            if (!line.StartsWith("cpu"u8))
                return;
            if (Utf8Parser.TryParse(line[3..], out int cpu, out int digits) && (uint)cpu < (uint)busy.Length)
                busy[cpu] = BusyIn(line[(3 + digits)..]) * NanosecondsPerTick;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();

    private static long BusyIn(ReadOnlySpan<byte> times)
    {
        long sum = 0;
        for (int field = 0; field < FirstOfGuests; field++)
        {
            times = times.TrimStart((byte)' ');
            if (!Utf8Parser.TryParse(times, out long ticks, out int digits))
                break;
            sum += field is Idle or IoWait ? 0 : ticks;
            times = times[digits..];
        }

        return sum;
    }

    // The file is made anew by each read from its start, so one call has to take what is wanted of it.
    private int Read()
    {
        if (_file is null)
            return 0;
        int length = Descriptor.ReadAt(_file.Fd, _text, 0);
        while (length == _text.Length && length < MostBytes)
        {
            _text = new byte[length * 2];
            length = Descriptor.ReadAt(_file.Fd, _text, 0);
        }

        return Math.Max(0, length);
    }
}
