using Kvm.X86.Execute;
using Kvm.X86.Paging;

namespace Kvm.X86.Engine;

public sealed partial class SoftProcessor
{
    /// <summary>Translations of pages the translation buffers did not have: walks of the guest's tables, or of the shadow's.</summary>
    public long PageWalks => _context.Walks;

    /// <summary>What shadow paging did; null where there is none. Exact while the processor does not run.</summary>
    public ShadowStatistics? Shadow => _context.Shadow?.Statistics;

    private void AddShadow()
    {
        _context.Tables = _machine.Tables;
        _context.TablesWritten = TableWritten;
        _context.Shadow = new ShadowPager(_context.Physical, Track);
    }

    /// <summary>A guest page table comes under protection, everywhere, or leaves it.</summary>
    private void Track(ulong page, bool on)
    {
        if (!on)
        {
            _machine.Tables.Remove(page, Index);
            return;
        }

        _context.ProtectPage(page);
        _context.Shadow!.HasOthers = _machine.HasOthers;
        if (_machine.Tables.Add(page, Index))
            _machine.Tell(ulong.MaxValue, new CodeNotice(CodeNoticeKind.Decoded, page, 0), Index);
    }

    private void TableWritten(ulong physical, uint length)
    {
        _context.Shadow!.Written(physical, length);
        if (!_machine.HasOthers)
            return;
        ulong last = (physical + length - 1) & ~0xfffUL;
        for (ulong page = physical & ~0xfffUL; ; page += 4096)
        {
            _machine.TellTables(page, ulong.MaxValue, Index);
            if (page == last)
                return;
        }
    }
}
