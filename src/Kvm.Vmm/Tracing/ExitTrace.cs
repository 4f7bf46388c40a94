using System.Diagnostics;
using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Vcpu;

namespace Kvm.Vmm.Tracing;

/// <summary>
/// A trace being taken: vCPU threads put exits into a queue of fixed size, a thread writes them. A vCPU waits for room, so that nothing is
/// lost but what the output cannot hold; once <see cref="Release"/> was called nobody waits any more.
/// </summary>
/// <remarks>Safe from any thread. Nothing here runs in a machine that is not traced.</remarks>
public sealed class ExitTrace : IDisposable
{
    private const int Capacity = 4096;
    private const int Batch = 256;

    private readonly TraceFilter _filter;
    private readonly ITraceFormat _format;
    private readonly TraceOutput _output;
    private readonly ExitSample[] _queue = new ExitSample[Capacity];
    private readonly object _lock = new();
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly Thread _writer;
    private long _number;
    private long _shown;
    private long _recorded;
    private int _first;
    private int _count;
    private long _lost;
    private bool _released;
    private bool _ended;

    /// <summary>Begins a trace; its thread runs until <see cref="Finish"/>.</summary>
    /// <param name="filter">Which exits.</param>
    /// <param name="format">In which form.</param>
    /// <param name="output">Where it goes; this object's from now on. Written by one thread, in large pieces, flushed when no exit waits.</param>
    /// <param name="mostBytes">How much may go there.</param>
    /// <param name="symbols">Names of the guest's addresses, or null.</param>
    public ExitTrace(TraceFilter filter, TraceFormat format, Stream output, long mostBytes, SymbolTable? symbols)
    {
        ArgumentNullException.ThrowIfNull(filter);
        _filter = filter;
        _output = new TraceOutput(output, mostBytes);
        _format = TraceFormats.Create(format, symbols);
        _writer = new Thread(Main, maxStackSize: 256 << 10) { Name = "trace", IsBackground = true };
        _writer.Start();
    }

    /// <summary>Raised once, on any thread, when <see cref="TraceFilter.Count"/> exits were taken.</summary>
    public event Action? Complete;

    /// <summary>Raised once, on the writer's thread, when the output takes nothing any more.</summary>
    public event Action<IOException>? OutputFailed;

    /// <summary>Exits that were written.</summary>
    public long Recorded => Volatile.Read(ref _recorded);

    /// <summary>Exits that should have been written and were not: the output is as long as it may be, failed, or the machine ended first.</summary>
    public long Lost => Volatile.Read(ref _lost);

    internal long Now => (long)((Stopwatch.GetTimestamp() - _start) * (1e9 / Stopwatch.Frequency));

    /// <summary>
    /// From now on no vCPU waits for room; exits that find none are lost, and counted. For a machine that ends, and for a trace that is only
    /// to be looked at.
    /// </summary>
    public void Release()
    {
        lock (_lock)
        {
            _released = true;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Writes what is left and ends the output. After the machine has ended.</summary>
    public void Finish()
    {
        lock (_lock)
        {
            _released = _ended = true;
            Monitor.PulseAll(_lock);
        }

        _writer.Join();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Finish();
        _format.Dispose();
        _output.Dispose();
    }

    /// <summary>Has a vCPU's exits recorded; before it runs.</summary>
    internal void Attach(IVcpuEngine engine, int vcpu, GuestMemory memory) => engine.Observatory.Tracer = new ExitRecorder(this, engine, vcpu, memory);

    internal long NextNumber() => Interlocked.Increment(ref _number);

    internal bool Shows(long number, KvmExit reason, ulong address)
    {
        if (number < _filter.From || !_filter.Shows(reason, address))
            return false;
        if (_filter.Count == long.MaxValue)
            return true;
        long shown = Interlocked.Increment(ref _shown);
        if (shown == _filter.Count)
            Complete?.Invoke();
        return shown <= _filter.Count;
    }

    /// <summary>Whether an exit is worth being taken down: false, and counted as lost, where it would find no room and nobody waits for any.</summary>
    internal bool HasRoom()
    {
        if (!Volatile.Read(ref _released) || Volatile.Read(ref _count) < Capacity)
            return true;
        Interlocked.Increment(ref _lost);
        return false;
    }

    internal void Add(in ExitSample sample)
    {
        lock (_lock)
        {
            while (_count == Capacity && !_released)
                Monitor.Wait(_lock);
            if (_count == Capacity || _ended)
            {
                Interlocked.Increment(ref _lost);
                return;
            }

            _queue[(_first + _count) % Capacity] = sample;
            if (_count++ == 0)
                Monitor.PulseAll(_lock);
        }
    }

    private void Main()
    {
        var batch = new ExitSample[Batch];
        Try(_format.Begin);
        while (Take(batch, out bool more) is > 0 and var count)
        {
            for (int i = 0; i < count; i++)
                Write(in batch[i]);
            if (!more)
                Try(static output => output.Flush());
        }

        Try(output => _format.End(output, _lost));
        Try(static output => output.Flush());
    }

    /// <summary>Waits for exits; 0 when there are none and will be none.</summary>
    private int Take(ExitSample[] batch, out bool more)
    {
        lock (_lock)
        {
            while (_count == 0 && !_ended)
                Monitor.Wait(_lock);
            int count = Math.Min(_count, batch.Length);
            for (int i = 0; i < count; i++)
                batch[i] = _queue[(_first + i) % Capacity];
            _first = (_first + count) % Capacity;
            _count -= count;
            more = _count > 0;
            Monitor.PulseAll(_lock);
            return count;
        }
    }

    private void Write(in ExitSample sample)
    {
        try
        {
            if (!_output.IsBroken && _format.Write(_output, in sample))
            {
                _recorded++;
                return;
            }
        }
        catch (IOException e)
        {
            Broken(e);
        }

        Interlocked.Increment(ref _lost);
    }

    private void Try(Action<TraceOutput> write)
    {
        if (_output.IsBroken)
            return;
        try
        {
            write(_output);
        }
        catch (IOException e)
        {
            Broken(e);
        }
    }

    private void Broken(IOException why)
    {
        _output.IsBroken = true;
        OutputFailed?.Invoke(why);
    }
}
