// Invariants: see BlockTranslator.cs. A stub's addresses lie in the code of the block in hand.
using Kvm.X86.Decode;

namespace Kvm.X86.Translate;

internal sealed unsafe partial class BlockTranslator
{
    /// <summary>Code out of the way, written behind the block's.</summary>
    private struct Stub
    {
        public ExitKind Kind;
        public byte Bytes;
        public AccessForm Form;

        /// <summary>Not an exit but a taken conditional jump, or the way out of one.</summary>
        public StubPlace Place;

        /// <summary>What resumes wants the host's flags.</summary>
        public bool NeedsFlags;
        public int Op;

        /// <summary>The displacement of the jump that leads here.</summary>
        public byte* Jump;
        public byte* Retry;
        public byte* Resume;
    }

    private enum StubPlace : byte
    {
        Exit, Edge, Leave,
    }

    private ref Stub AddStub(ExitKind kind, byte* jump)
    {
        ref var stub = ref _stubs[_stubCount++];
        stub = new Stub { Kind = kind, Jump = jump, Op = _i };
        return ref stub;
    }

    /// <summary>The op is written: what its slow paths did goes on here.</summary>
    private void CloseStubs()
    {
        for (int n = _opStubs; n < _stubCount; n++)
        {
            ref var stub = ref _stubs[n];
            if (stub.Resume != null || stub.Kind is not (ExitKind.Access or ExitKind.Single))
                continue;
            stub.Resume = _e.At;
            stub.NeedsFlags = _flags is FlagState.Live or FlagState.Both && LiveAfter != FlagSet.None;
        }
    }

    private void WriteStubs()
    {
        // Edges add stubs of their own: the count grows on the way.
        for (int n = 0; n < _stubCount; n++)
        {
            var stub = _stubs[n];
            Emitter.Patch(stub.Jump, _e.At);
            _i = stub.Op;
            switch (stub.Place)
            {
                case StubPlace.Edge:
                    Edge(ref _ops[stub.Op]);
                    break;
                case StubPlace.Leave:
                    LoadTarget(_ops[stub.Op]);
                    _e.Jmp(_arena.LeaveAtRip);
                    break;
                default:
                    WriteExit(stub);
                    break;
            }
        }
    }

    private void WriteExit(in Stub stub)
    {
        if (stub.Kind is ExitKind.Access or ExitKind.Arrive)
            _e.RegMem(8, Opcode.MovStore, Host.Rax, _field.HostValue);
        // lea rax, [record]; jmp leave: the record follows the jump, and the code that resumes with flags follows the record.
        byte* lea = _e.At;
        _e.LeaCode(Host.Rax, lea);
        _e.Jmp(_arena.Leave);
        _e.Align(8);
        byte* record = _e.At;
        Emitter.Patch(lea + 3, record);
        byte* resume = stub.NeedsFlags ? record + ExitRecord.Size : stub.Resume;
        *(ExitRecord*)record = new ExitRecord
        {
            Kind = stub.Kind,
            Bytes = stub.Bytes,
            Form = stub.Form,
            NeedsFlags = (byte)(stub.NeedsFlags ? 1 : 0),
            Retry = stub.Retry == null ? 0 : (int)(stub.Retry - record),
            Resume = resume == null ? 0 : (int)(resume - record),
            Op = (nint)(_ops + stub.Op),
        };
        _e.Skip(ExitRecord.Size);
        if (!stub.NeedsFlags)
            return;
        RestoreFlags();
        _e.Jmp(stub.Resume);
    }

    /// <summary>Has the op run by its handler, alone.</summary>
    private void Single()
    {
        Clobber();
        AddStub(ExitKind.Single, _e.Jmp()).Resume = _e.At;
        _flags = FlagState.Any;
    }

    /// <summary>Hands the rest of the block to the interpreter.</summary>
    private void Interpret()
    {
        Clobber();
        AddStub(ExitKind.Interpret, _e.Jmp());
    }
}
