using Kvm.X86.Engine;
using Kvm.X86.Paging;

namespace Kvm.Vmm.Reporting;

/// <summary>How the software engine translated addresses, all vCPUs together.</summary>
/// <param name="Walks">Translations its buffers did not have.</param>
/// <param name="Shadow">What the shadow tables did; null where the guest's tables were walked each time.</param>
public sealed record PagingReport(long Walks, ShadowStatistics? Shadow = null)
{
    internal static PagingReport Of(IEnumerable<SoftProcessor> processors)
    {
        long walks = 0;
        ShadowStatistics? shadow = null;
        foreach (var processor in processors)
        {
            walks += processor.PageWalks;
            if (processor.Shadow is { } one)
                shadow = shadow?.Plus(one) ?? one;
        }

        return new PagingReport(walks, shadow);
    }
}
