using Kvm.X86.Engine;
using Kvm.X86.Execute;
using Kvm.X86.State;
using Kvm.X86.Tests.Engine;
using Kvm.X86.Translate;

namespace Kvm.X86.Tests.Translate;

/// <summary>
/// A processor that runs blocks on <see cref="EngineRig"/>'s memory, with the second tier or without. The two megabytes from Data on
/// are mapped by small pages: the second is not present, the third cannot be written.
/// </summary>
internal sealed unsafe class TierRig : IDisposable
{
    public const ulong Missing = EngineRig.Data + 0x1000, ReadOnly = EngineRig.Data + 0x2000, Pair = EngineRig.Data + 0x3000;

    private const ulong PageTable = 0x4000;

    private readonly TestCodeMemory? _code;

    public TierRig(int threshold, int codeBytes = 4 << 20)
    {
        Context.MakeJumpCache();
        if (threshold > 0)
        {
            _code = TestCodeMemory.Create(codeBytes);
            Context.Tier = new Tier(Context, _code, threshold);
        }

        Cache = new CodeCache(Context, new CodePages(Memory.Memory), 0);
        Context.Code = Cache;
        for (ulong n = 0; n < 512; n++)
            Memory.Write64(PageTable + (n * 8), (EngineRig.Data + (n << 12)) | 7);
        Memory.Write64(PageTable + 8, 0);
        Memory.Write64(PageTable + 16, ReadOnly | 5);
        Memory.Write64(EngineRig.Tables + 0x2000 + 8, PageTable | 7);
        Context.FlushTlb(true);
    }

    public EngineRig Memory { get; } = new();

    public CpuContext Context => Memory.Context;

    public Cpu* Cpu => Memory.Cpu;

    public CodeCache Cache { get; }

    public Tier Tier => Context.Tier!;

    public TestCodeMemory CodeMemory => _code!;

    public ulong Retired => RunLoop.Retired(Cpu);

    /// <summary>Puts code somewhere and forgets what was decoded of those pages.</summary>
    public void Put(ulong address, ReadOnlySpan<byte> code)
    {
        code.CopyTo(new Span<byte>(Memory.Host + address, code.Length));
        Cache.Drop(address & ~0xfffUL, ulong.MaxValue);
        Cache.Drop((address & ~0xfffUL) + 4096, ulong.MaxValue);
        Cpu->LeaveBlock = 0;
    }

    /// <summary>Runs from RIP until a fault; its vector.</summary>
    public int Run()
    {
        Cpu->FaultVector = -1;
        Cpu->PendingDebug = 0;
        do
            Cpu->Attention = 0;
        while (RunLoop.Run(Context, Cache) != LoopResult.Fault);
        return Cpu->FaultVector;
    }

    public void Dispose()
    {
        Context.Code = null;
        Cache.Dispose();
        Context.Tier?.Dispose();
        Context.Tier = null;
        Memory.Dispose();
        _code?.Dispose();
    }
}
