namespace Kvm.Vmm;

/// <summary>How the software engine finds the translations its buffers do not have (docs/engine.md, "Shadow paging").</summary>
public enum PagingMode
{
    /// <summary>By walking the guest's page tables.</summary>
    Tlb,

    /// <summary>By shadow page tables, which are filled from the guest's; those are write-protected.</summary>
    Shadow,
}
