using System.Diagnostics;
using Kvm.Devices.Memory;
using Kvm.Interop;
using Kvm.Vmm.Observation;
using Kvm.Vmm.Vcpu;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.Vmm.Tracing;

/// <summary>Takes down the exits of one vCPU, on its thread, and hands them to the trace.</summary>
internal sealed class ExitRecorder(ExitTrace trace, IVcpuEngine engine, int vcpu, GuestMemory memory) : IExitTracer
{
    private const int PageSize = 4096;

    private readonly ArchitecturalState _state = new();
    private readonly byte[] _bytes = new byte[TracedCode.Length];
    private TracedRegisters _last;
    private ExitSample _sample;
    private long _began;
    private bool _any;
    private bool _shown;

    /// <inheritdoc/>
    public void Begin(KvmExit reason, ulong address, int size, bool isWrite, ulong rip)
    {
        if (!BeginSample(reason, address))
            return;
        _sample.Count = 1;
        (_sample.Address, _sample.Size, _sample.IsWrite) = (address, (byte)size, isWrite);
        TakeRegisters();
        _sample.Rip = rip;
        TakeCode(0);
        _began = Stopwatch.GetTimestamp();
    }

    /// <inheritdoc/>
    public void End(ulong value)
    {
        if (!_shown)
            return;
        _sample.Value = value & Mask(_sample.Size);
        EndSample(true);
    }

    /// <inheritdoc/>
    public void Begin(KvmRunPage page)
    {
        var reason = page.ExitReason;
        ulong address = reason switch
        {
            KvmExit.Io => page.Io.Port,
            KvmExit.Mmio => page.Mmio.PhysAddr,
            KvmExit.X86Rdmsr or KvmExit.X86Wrmsr => page.Msr.Index,
            _ => 0,
        };
        if (!BeginSample(reason, address))
            return;
        _sample.Address = address;
        switch (reason)
        {
            case KvmExit.Io:
                (_sample.Size, _sample.Count, _sample.IsWrite) = (page.Io.Size, page.Io.Count, page.Io.Direction == KvmConst.KVM_EXIT_IO_OUT);
                break;
            case KvmExit.Mmio:
                (_sample.Size, _sample.Count, _sample.IsWrite) = ((byte)Math.Min(page.Mmio.Len, 8), 1, page.Mmio.IsWrite != 0);
                break;
            case KvmExit.X86Rdmsr or KvmExit.X86Wrmsr:
                (_sample.Size, _sample.Count, _sample.IsWrite) = (8, 1, reason == KvmExit.X86Wrmsr);
                break;
            default:
                break;
        }

        TakeRegisters();
        TakeCode(TracedCode.MostBefore);
        _began = Stopwatch.GetTimestamp();
    }

    /// <inheritdoc/>
    public void End(KvmRunPage page, bool goesOn)
    {
        if (!_shown)
            return;
        // Dealing with an exit may have changed the page's union, but not the data of an access.
        ReadOnlySpan<byte> data = _sample.Reason switch
        {
            KvmExit.Io => page.IoData,
            KvmExit.Mmio => page.MmioData,
            _ => default,
        };
        Span<byte> value = stackalloc byte[sizeof(ulong)];
        value.Clear();
        data[..Math.Min(data.Length, value.Length)].CopyTo(value);
        _sample.Value = _sample.Reason is KvmExit.X86Rdmsr or KvmExit.X86Wrmsr ? page.Msr.Data : System.Buffers.Binary.BinaryPrimitives.ReadUInt64LittleEndian(value);
        EndSample(goesOn);
    }

    private bool BeginSample(KvmExit reason, ulong address)
    {
        long number = trace.NextNumber();
        _shown = trace.Shows(number, reason, address) && trace.HasRoom();
        if (!_shown)
            return false;
        _sample = default;
        _sample.Number = number;
        _sample.Time = trace.Now;
        _sample.Reason = reason;
        _sample.Vcpu = (ushort)vcpu;
        return true;
    }

    private void EndSample(bool goesOn)
    {
        _sample.Cost = (long)((Stopwatch.GetTimestamp() - _began) * (1e9 / Stopwatch.Frequency));
        _sample.GoesOn = goesOn;
        trace.Add(in _sample);
    }

    private void TakeRegisters()
    {
        engine.SaveRegisters(_state);
        _sample.Rip = _state.Rip;
        ref readonly var cs = ref _state.Segments[1];
        _sample.Bitness = (byte)(cs.IsLong && (_state.Efer & X86LongMode) != 0 ? 64 : cs.IsBig ? 32 : 16);
        for (int i = 0; i < 16; i++)
            _sample.Registers[i] = _state.Gpr[i];
        _sample.Registers[TracedRegisters.Rflags] = _state.Rflags;
        _sample.Registers[TracedRegisters.Rflags + 1] = _state.Cr0;
        _sample.Registers[TracedRegisters.Rflags + 2] = _state.Cr2;
        _sample.Registers[TracedRegisters.Rflags + 3] = _state.Cr3;
        _sample.Registers[TracedRegisters.Rflags + 4] = _state.Cr4;
        for (int i = 0; i < TracedRegisters.Length; i++)
        {
            if (!_any || _sample.Registers[i] != _last[i])
                _sample.Changed |= 1u << i;
        }

        _last = _sample.Registers;
        _any = true;
    }

    /// <summary>The code around RIP, as far as it is in memory: from so many bytes before it.</summary>
    private void TakeCode(int before)
    {
        ulong linear = _sample.Rip + (_sample.Bitness == 64 ? 0 : _state.Segments[1].Base);
        if (_sample.Bitness != 64)
            linear = (uint)linear;
        int taken = 0;
        // What lies before is on the same page or is done without: it only helps to find an instruction that is over.
        before = (int)Math.Min((ulong)before, linear % PageSize);
        ulong at = linear - (ulong)before;
        int wanted = before + 15;
        while (taken < wanted)
        {
            int part = Math.Min(wanted - taken, PageSize - (int)(at % PageSize));
            if (!PageTables.TryTranslate(memory, _state, at, out ulong physical) || !memory.TryRead(physical, _bytes.AsSpan(taken, part)))
                break;
            taken += part;
            at += (ulong)part;
        }

        if (taken < before)
            return;
        _sample.CodeBefore = (byte)before;
        _sample.CodeLength = (byte)taken;
        _bytes.AsSpan(0, taken).CopyTo(_sample.Code);
    }

    private const ulong X86LongMode = 1 << 10;

    private static ulong Mask(int size) => size >= 8 ? ulong.MaxValue : (1UL << (8 * size)) - 1;
}
